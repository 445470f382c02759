"""What stores of objects behind HTTP have in common; no plugin itself.

How long a server may keep one waiting (``waiting``), what it guarantees (``probing``), parts on their way (``parted``),
an object that is put where there is none (``putting``), and what a URL says (``parameters``).
"""
