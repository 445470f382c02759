"""Jobs whose work is spread over workers of Dask (https://distributed.dask.org), on this machine or others."""
