"""The audit archive: old audit events as compressed CSV files that prove themselves.

A *chunk* is a file of rows and a manifest beside it, written last: no manifest, no chunk. A manifest lists the ids of
its rows, so the manifests together say exactly which rows are archived; nothing else is asked. `ARCHIVE` is a directory
or a place in a bucket:

| file | what it is |
| --- | --- |
| `ARCHIVE/yyyy/mm/FIRST-LAST-SHA8.csv.zst` | rows in the order of their ids, as COPY writes them, with a header |
| the same and `.json` | the manifest: ids, times, columns, SHA-256 of the file, digest of the rows |

FIRST and LAST are ids, SHA8 is how the file's SHA-256 begins, yyyy/mm is the month of the first row. Every value but
NULL is quoted.
"""
