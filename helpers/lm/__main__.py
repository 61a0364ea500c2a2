"""Put embedded models in place: ``python -m helpers.lm [name …]``."""

import sys

from .weights import fetch, model_folder

for name in sys.argv[1:] or ["smollm2-135m"]:
    print(f"{fetch(name)} is in place; converted to {model_folder(name)}")
