"""What a database holds, as dump and restore both need to know it.

``catalog`` has the types and ``catalog_reader`` reads them; ``columns``, ``indexes``, ``stored_objects`` and
``character_sets`` say how each is written; ``recovery`` knows what a killed restore left in it.
"""
