"""Compile the kernels of dictionaries for a Hopper card and print what they use; :mod:`test_kernels` reads it.

Needs Triton and no card. Sizes are the benchmark's: every pointer and the width are multiples of 16.
"""

import json
import re

import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from helpers.sae import kernels


def built(kernel, types: dict[str, str], constants: dict, warps: int) -> dict:
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    aligned = {(names.index(n),): [["tt.divisibility", 16]] for n in types if types[n][0] == "*" or n == "d"}
    source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
    done = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    loads = set(re.findall(r"ld\.global[.\w]*", done.asm["ptx"]))
    return {"wide": any(".v4.b32" in load for load in loads), "bytes": len(done.asm["cubin"])}


def main() -> None:
    tile = {"ENTRIES": kernels.ENTRIES, "WIDTH": kernels.WIDTH, "KIND": tl.float32}
    sums = {"out": "*fp32", "starts": "*i32", "weights": "*fp32"}
    found = {"totals": built(kernels._totals, sums, {"ENTRIES": 32, "KIND": tl.float32}, 1)}
    for kind in ("bf16", "fp32"):
        bag = {"out": "*fp32", "indices": "*i32", "starts": "*i32", "rows": f"*{kind}", "weights": "*fp32", "d": "i32"}
        found[f"bag {kind}"] = built(kernels._bag, bag, tile, kernels.WARPS)
        dots = {
            "out": "*fp32",
            "left": f"*{kind}",
            "i": "*i32",
            "right": f"*{kind}",
            "j": "*i32",
            "n": "i32",
            "d": "i32",
        }
        found[f"dots {kind}"] = built(kernels._dots, dots, tile, kernels.WARPS)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
