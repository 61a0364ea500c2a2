"""faiss' exact inner-product index (IndexFlatIP), in the peers' environment: one search for every line on stdin.

Started by ``geometry.py`` with the unit rows' file, the file for what is found, the number of threads, and the ks.
"""

import json
import sys

import faiss
import numpy as np
from peak import peak

IMPORTS = peak()
rows, out, threads, ks = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
faiss.omp_set_num_threads(threads)
index = faiss.IndexFlatIP(rows.shape[1])
index.add(rows)
for _ in sys.stdin:
    cosines, which = index.search(rows, max(ks) + 1)
    others = np.array([line[w != i][: max(ks)] for i, (line, w) in enumerate(zip(cosines, which, strict=True))])
    np.save(out, others[:, [k - 1 for k in ks]])
    print(json.dumps({"peak": peak(), "imports": IMPORTS}), flush=True)
