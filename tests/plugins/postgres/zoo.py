"""Databases with one of every kind of object, for round trips."""

from __future__ import annotations

ROLES = '''
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'zoo_owner') THEN CREATE ROLE zoo_owner; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'Zoo "Reader"') THEN CREATE ROLE "Zoo ""Reader"""; END IF;
END $$;
'''

COMMON = r'''
CREATE SCHEMA app;
CREATE SCHEMA "Mixed Case";
CREATE TYPE app.mood AS ENUM ('sad', 'so-so', 'it''s \ fine', 'glad;');
CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
CREATE TYPE app.pair AS (a integer, b text);

CREATE TABLE app.parent (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  doubled bigint GENERATED ALWAYS AS (length(name) * 2) STORED
);
INSERT INTO app.parent (name) SELECT 'parent ' || g FROM generate_series(1, 30) g;
CREATE TABLE app.child (
  id serial PRIMARY KEY,
  parent_id bigint NOT NULL REFERENCES app.parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  mood app.mood, size app.positive, both_of app.pair
);
INSERT INTO app.child (parent_id, mood, size, both_of)
  SELECT 1 + g % 30, (ARRAY['sad', 'glad;', 'it''s \ fine'])[1 + g % 3]::app.mood, g, ROW(g, E'a\tb\nc\\.')::app.pair
  FROM generate_series(1, 100) g;
CREATE INDEX child_mood ON app.child (mood) WHERE size > 10;
CREATE STATISTICS app.child_stats ON mood, size FROM app.child;

CREATE TABLE "Mixed Case"."Odd "" name; -- x" ("select" integer, "a b" text, "ünïcödé" text);
INSERT INTO "Mixed Case"."Odd "" name; -- x" VALUES (1, '\.', E'\\.\n'), (2, E'COPY x FROM stdin;\n\\.\n', NULL), (3, '', '\N');
CREATE TABLE "table" ("user" integer);
INSERT INTO "table" VALUES (1), (2);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id integer);

CREATE TABLE numbers (f4 real, f8 double precision, n numeric, m money, i8 bigint);
INSERT INTO numbers VALUES
  ('NaN', 'NaN', 'NaN', 1.5, 9223372036854775807), ('Infinity', '-Infinity', 'Infinity', -1, -9223372036854775808),
  (3.4028235e38, 5e-324, 1e-300, 0, 0), (0.1, 0.1, 12345678901234567890.123456789, 0, 1), ('-0', '-0', 0.000, 0, 2);
CREATE TABLE times (t timestamptz, d date, i interval, tr tstzrange, tm time with time zone);
INSERT INTO times VALUES ('infinity', '-infinity', '1 year -2 days 03:04:05.678901', '[2020-01-01,infinity)', '23:59:60+02'),
  ('0044-03-15 12:00:00 BC', '4713-01-01 BC', '0', 'empty', '00:00:00-12');
CREATE TABLE documents (j json, jb jsonb, a integer[][], ta text[], r int4range, nr numrange, b bytea, bits bit varying,
  u uuid, ip inet, mac macaddr, p point, path path, ts tsvector, tq tsquery, c "char", o oid, mr int4multirange);
INSERT INTO documents VALUES ('{"a":  1, "a": 2}', '{"b": [1, null, "é\u0001"], "a": 1e400}',
  '{{1,2},{3,NULL}}', ARRAY['x,y', '"q"', NULL, '\', 'NULL', ''], '[1,5)', '(,0.5]', '\x00ff0a0d5c2e0a09', B'10110',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1/8', '08:00:2b:01:02:03', '(1.1,-2)', '((0,0),(1,1))',
  'fat:1A cat:2', 'fat & !rat', 'x', 4294967295, '{[1,3),[5,7)}');
INSERT INTO documents (b) SELECT decode(string_agg(lpad(to_hex(g), 2, '0'), ''), 'hex') FROM generate_series(0, 255) g;
CREATE TABLE wide (v text);
INSERT INTO wide SELECT string_agg(md5(g::text), '') FROM generate_series(1, 40000) g;

CREATE TABLE measured (day date NOT NULL, place text NOT NULL, v double precision) PARTITION BY RANGE (day);
CREATE TABLE measured_old PARTITION OF measured FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE measured_new PARTITION OF measured FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY HASH (place);
CREATE TABLE app.measured_new_0 PARTITION OF measured_new FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measured_new_1 PARTITION OF measured_new FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON measured (day);
INSERT INTO measured SELECT date '2019-12-20' + g, 'p' || g % 7, g FROM generate_series(1, 60) g;
CREATE TABLE base (id integer); CREATE TABLE derived (extra text) INHERITS (base);
INSERT INTO base VALUES (1); INSERT INTO derived VALUES (2, 'x'), (3, 'y');
CREATE UNLOGGED TABLE quick (id integer); INSERT INTO quick VALUES (7);

CREATE FUNCTION app.total(integer) RETURNS bigint LANGUAGE sql STABLE AS $body$
  -- COPY app.parent FROM stdin;
  SELECT sum(size)::bigint + $1 FROM app.child; /* a ; in a /* nested */ comment */
$body$;
CREATE FUNCTION app.quoted() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN $$;'"\! echo $$ || E'\';'; END $f$;
CREATE FUNCTION app.atomic(a integer) RETURNS integer LANGUAGE sql
  BEGIN ATOMIC SELECT a; SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END; END;
CREATE PROCEDURE app.proc() LANGUAGE sql BEGIN ATOMIC INSERT INTO public.empty VALUES (1); DELETE FROM public.empty; END;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON app.child FOR EACH ROW WHEN (NEW.size > 5) EXECUTE FUNCTION app.touch();
CREATE AGGREGATE app.concat(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE OPERATOR app.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE VIEW app.both AS SELECT p.name, c.mood, c.size FROM app.parent p JOIN app.child c ON c.parent_id = p.id;
CREATE VIEW app.upper AS SELECT upper(name) AS name FROM app.both WHERE name <> E'\\;';
CREATE RULE two AS ON INSERT TO app.upper DO INSTEAD (SELECT 1; SELECT 2);
CREATE MATERIALIZED VIEW app.summary AS SELECT mood, count(*) AS n FROM app.child GROUP BY mood;
CREATE UNIQUE INDEX ON app.summary (mood);
CREATE MATERIALIZED VIEW app.unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE SEQUENCE app.counter AS smallint START 5 INCREMENT BY -3 MINVALUE -100 MAXVALUE 5 CYCLE;
SELECT nextval('app.counter'), nextval('app.counter');
COMMENT ON TABLE app.child IS E'a comment; with ''quotes'', a \\ and\n-- PostgreSQL database dump complete\n--\n';

ALTER TABLE app.parent ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.parent FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON app.parent FOR SELECT TO "Zoo ""Reader""" USING (id < 10);
GRANT SELECT ON app.parent TO "Zoo ""Reader"""; GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT SELECT (name) ON app.both TO zoo_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO "Zoo ""Reader""";
ALTER TABLE app.child OWNER TO zoo_owner; ALTER TABLE measured OWNER TO zoo_owner;
CREATE PUBLICATION pub FOR TABLE app.parent;
CREATE EVENT TRIGGER watch ON ddl_command_start WHEN TAG IN ('DROP AGGREGATE') EXECUTE FUNCTION app.event();
CREATE COLLATION app.byte (LOCALE = 'C'); CREATE TABLE collated (v text COLLATE app.byte);
CREATE CAST (app.mood AS integer) WITH FUNCTION app.mood_number(app.mood);

SELECT lo_from_bytea(424242, decode(repeat('00ff5c2e0a', 9000), 'hex'));
SELECT lo_from_bytea(424243, ''), lo_from_bytea(424244, '\x2a');
COMMENT ON LARGE OBJECT 424242 IS 'a large; object'; GRANT SELECT ON LARGE OBJECT 424244 TO zoo_owner;
'''.replace(
    "CREATE EVENT TRIGGER",
    "CREATE FUNCTION app.event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;\nCREATE EVENT TRIGGER",
).replace(
    "CREATE CAST",
    "CREATE FUNCTION app.mood_number(app.mood) RETURNS integer LANGUAGE sql RETURN 1;\nCREATE CAST",
)

EXTENSIONS = """
CREATE EXTENSION hstore; CREATE EXTENSION citext SCHEMA app; CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gist;
CREATE TABLE markup (x xml); INSERT INTO markup VALUES ('<a>&amp;</a>');
CREATE TABLE extended (h hstore, c app.citext, r tsrange, EXCLUDE USING gist (r WITH &&));
INSERT INTO extended VALUES ('"a b"=>"1", c=>NULL', 'Case', '[2020-01-01,2020-02-01)'), (NULL, 'case', NULL);
CREATE INDEX ON extended USING gin (c gin_trgm_ops);
"""
