"""Where a URL's server is, seen from the end of a way, and what a driver gets instead."""

from __future__ import annotations

import socket

import pytest
from support.echo import Echo
from support.toys import ToyDriver
from testing.broken_transports import GoodTransport

from dumpty import Addressing, Format, Host, MalformedURL, PluginInfo, TransportError, hookimpl
from dumpty.operations.addressing import destination_of
from dumpty.operations.reach import is_reached, reached, reached_identity, read_way
from dumpty.url import parse_url


class Driver(ToyDriver):
    """A driver of servers, whose URLs say where they are as its class says."""

    name = "toy"
    addressing: Addressing | None = None

    @hookimpl
    def describe(self):
        formats = (Format(name="toy", suffix=".toy"),)
        return PluginInfo(kind="driver", schemes=("toy",), formats=formats, addressing=self.addressing)


def driver_of(addressing):
    driver = Driver()
    driver.addressing = addressing
    host = Host([driver, GoodTransport()], discover=False)
    return host, host.driver("toy")


MYSQL = Addressing(port=3306, sockets=("unix_socket", "socket"), address="hostaddr")
POSTGRES = Addressing(
    port=5432, sockets=("host",), socket_name=".s.PGSQL.{port}", default_sockets=("/run/.s.{port}",), address="hostaddr"
)


@pytest.mark.parametrize(
    ("addressing", "url", "endpoint", "location"),
    [
        (None, "toy://DB:7/x", "DB:7", "db:7"),
        (None, "toy://:7/x", "localhost:7", "localhost:7"),
        (MYSQL, "toy:///x", "localhost:3306", "localhost:3306"),
        (MYSQL, "toy://127.0.0.1/x", "127.0.0.1:3306", "localhost:3306"),
        (MYSQL, "toy://[::1]:7/x", "[::1]:7", "localhost:7"),
        (MYSQL, "toy://[fe80::2]/x", "[fe80::2]:3306", "[fe80::2]:3306"),
        (MYSQL, "toy://h/x?hostaddr=10.0.0.9", "10.0.0.9:3306", "h:3306"),
        (MYSQL, "toy:///x?unix_socket=/s", "/s", "/s"),
        (MYSQL, "toy:///x?socket=/s", "/s", "/s"),
        (POSTGRES, "toy:///x", "/run/.s.5432", "localhost:5432"),
        (POSTGRES, "toy://:7/x", "/run/.s.7", "localhost:7"),
        (POSTGRES, "toy://%2Fa%2Fb/x", "/a/b/.s.PGSQL.5432", "/a/b/.s.PGSQL.5432"),
        (POSTGRES, "toy://h/x?host=/a&port=7", "/a/.s.PGSQL.7", "/a/.s.PGSQL.7"),
        (POSTGRES, "toy://h/x?host=i&port=7", "i:7", "i:7"),
    ],
)
def test_where_a_server_is_and_what_it_is_called(addressing, url, endpoint, location):
    _, driver = driver_of(addressing)
    destination = destination_of(driver, parse_url(url))
    assert (destination.endpoint.shown, destination.location) == (endpoint, location)


@pytest.mark.parametrize(
    ("addressing", "url", "text"),
    [
        (None, "toy://h/x", "names no port"),
        (MYSQL, "toy://a,b/x", "several hosts"),
        (POSTGRES, "toy:///x?host=a,b", "several hosts"),
        (POSTGRES, "toy:///x?port=0", "not a number from 1"),
        (POSTGRES, "toy:///x?port=seven", "not a number from 1"),
        (POSTGRES, "toy:///x?host=%40abstract", "abstract"),
    ],
)
def test_what_nobody_can_go_to_is_refused(addressing, url, text):
    _, driver = driver_of(addressing)
    with pytest.raises(MalformedURL, match=text):
        destination_of(driver, parse_url(url))


def test_a_driver_gets_a_port_of_its_own_and_shows_the_url_of_the_server():
    echo = Echo()
    for addressing, named in ((None, False), (MYSQL, True)):
        host, driver = driver_of(addressing)
        source = parse_url(f"toy://user:h1dden@localhost:{echo.port}/x?keep=1")
        with reached(driver, source, read_way(host, "toyway://here")) as near:
            address = near.query.get("hostaddr") if named else near.host
            assert (near.url, near.password, near.query["keep"]) == (source.url, "h1dden", "1")
            assert near.host == ("localhost" if named else address)
            assert address.startswith("127.")
            with socket.create_connection((address, near.port), 60) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
        with pytest.raises(OSError, match=r"refused|reset"):
            socket.create_connection((address, near.port), 1)
    echo.close()


def test_nothing_in_the_environment_says_another_server(tmp_path):
    """PGHOSTADDR would win over the socket, were there nothing in its place."""
    host, driver = driver_of(POSTGRES)
    with reached(driver, parse_url("toy:///x?host=/a"), read_way(host, "toyway://here")) as near:
        assert near.query["hostaddr"] == ""
        assert near.query["host"].startswith("/")
        assert near.port == 5432


def test_an_identity_is_of_the_way_and_the_place_and_of_no_user():
    host, driver = driver_of(POSTGRES)
    ways = [read_way(host, via) for via in ("toyway://a", "toyway://me@a", ["toyway://a", "toyway://b"], "toyway://c")]
    identities = [
        reached_identity(driver, parse_url("toy://me:word@LOCALHOST/x"), way, "X", of_server=False) for way in ways
    ]
    assert identities[0] == identities[1] == "toyway://a/toy://localhost:5432/X"
    assert identities[2] == "toyway://a/toyway://b/toy://localhost:5432/X"
    assert len(set(identities)) == 3
    assert all(map(is_reached, identities))
    assert not is_reached("postgresql://local-7:5432/shop")
    assert not is_reached("/srv/shop.db")


def test_a_disk_that_is_full_is_not_the_ways_fault():
    """An error of the system's within the block is its own."""
    host, driver = driver_of(MYSQL)
    with pytest.raises(OSError, match="No space left") as caught:  # noqa: SIM117
        with reached(driver, parse_url("toy://h/x"), read_way(host, "toyway://here")):
            raise OSError(28, "No space left on device")
    assert not isinstance(caught.value, TransportError)
