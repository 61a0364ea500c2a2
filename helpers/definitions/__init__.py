"""A word asked for under interventions: what is left of its definition when its embedding is moved or a path is cut.

:func:`definition_run` asks; :mod:`helpers.definitions.interventions` has the edits of one forward pass;
:mod:`helpers.definitions.paths` has those of what later positions read at the word;
:func:`find_heads` and :func:`effect` find the two heads of an explanation and say what a test of them showed.
"""

from .interventions import (
    Hooks,
    Intervention,
    add,
    at,
    check_head,
    freeze_norm,
    head_writes,
    hook_name,
    key_input,
    multiply,
    patch_pattern,
    replace,
    scale_head,
    set_head,
    value_input,
    write_hook,
    z_hook,
)
from .paths import (
    Onward,
    affinity,
    kinship,
    kv_hooks,
    mlp_hook,
    onward,
    onward_run,
    place,
    put,
    put_for,
    read,
    scale_writes,
)
from .rescaling import (
    TEMPLATES,
    Prompts,
    Run,
    Template,
    centroid,
    definition_run,
    divergence,
    embeddings,
    encode,
    information,
    transferred,
    write,
)
from .two_heads import (
    FAR,
    Effect,
    Heads,
    attention_to,
    chosen,
    decide,
    effect,
    find_heads,
    gradients,
    pattern_hook,
)

__all__ = [
    "FAR", "TEMPLATES", "Effect", "Heads", "Hooks", "Intervention", "Onward", "Prompts", "Run", "Template", "add",
    "affinity", "at", "attention_to", "centroid", "check_head", "chosen", "decide", "definition_run", "divergence",
    "effect", "embeddings", "encode", "find_heads", "freeze_norm", "gradients", "head_writes", "hook_name",
    "information", "key_input", "kinship", "kv_hooks", "mlp_hook", "multiply", "onward", "onward_run", "patch_pattern",
    "pattern_hook", "place", "put", "put_for", "read", "replace", "scale_head", "scale_writes", "set_head",
    "transferred", "value_input", "write", "write_hook", "z_hook",
]  # fmt: skip
