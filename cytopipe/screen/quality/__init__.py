"""Quality of a screen, for the look before the expensive stages: tables, findings that name tiles, figures.

`images` measures focus, saturation, blank planes and alignment; `reads` holds bases and mapping against the
library; `layout` gathers tiles into wells and plates; `figures` draws.
"""
