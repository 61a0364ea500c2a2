"""A graphics card to pretend with: what is on it lies in this machine's memory and is marked.

Inside ``with Card():`` there is a card for all who ask. What is sent there, made there or computed from what lies there
lies there; an operation on two tensors in different places fails as it would on a real card, and so does a look from
numpy. Backward passes are not looked into: a gradient lies where its tensor does.
"""

from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CARD, HERE = torch.device("cuda", 0), torch.device("cpu")
INTO = {"copy_", "__setitem__"}  # from anywhere into where the first of them lies
NUMPY = {"numpy", "__array__", "__dlpack__"}
ASIDE = {"_parse_to", "_has_compatible_shallow_copy_type", "__set__", "device"}  # no operations


class Card(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.marks: dict[int, StorageWeakRef] = {}
        self.steps = 0  # how many operations there were on it
        self.known = patch.multiple(
            torch.cuda, is_available=lambda: True, device_count=lambda: 1, is_bf16_supported=lambda **_: False
        )

    def __enter__(self):
        self.known.start()
        return super().__enter__()

    def __exit__(self, *error):
        self.known.stop()
        return super().__exit__(*error)

    def holds(self, x: Tensor) -> bool:
        """Whether a tensor lies on the card."""
        if x.layout is not torch.strided:
            return False
        mark = self.marks.get(x.untyped_storage()._cdata)  # nobody else's number while a mark refers to it
        return mark is not None and not mark.expired()

    def put(self, x):
        """``x``, its tensors from now on on the card."""
        for part in tree_leaves(x):
            if isinstance(part, Tensor) and part.layout is torch.strided:
                self.marks[part.untyped_storage()._cdata] = StorageWeakRef(part.untyped_storage())
        return x

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__":
            return self.attribute(func, *args)
        if name in ASIDE:
            return func(*args, **kwargs)
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], Tensor):
            return self.move(func, name, *args, **kwargs)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on = [x for x in given if self.holds(x)]
        if on and name in NUMPY:
            raise TypeError(f"can't convert {CARD} device type tensor to numpy. Use Tensor.cpu() first.")
        if self.mixed(name, args, kwargs):
            where = ", ".join(f"{tuple(x.shape)} on {CARD if self.holds(x) else HERE}" for x in given)
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {where}")
        asked = kwargs.get("device")
        there = bool(on) and self.holds(args[0] if name in INTO else on[0]) if asked is None else _is_card(asked)
        if there and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError(f"{name}: expected a {CARD} generator, found one on {HERE}")
        if asked is not None and there:
            kwargs["device"] = HERE
        self.steps += there
        out = func(*args, **kwargs)
        return self.put(out) if there else out

    def mixed(self, name, args, kwargs) -> bool:
        """Whether tensors of more than one entry lie in both places, where an operation wants them in one."""
        if name == "copy_":
            return False
        if name in ("__getitem__", "__setitem__"):  # an index may lie here, and what is put at a slice anywhere
            at = [x for x in tree_leaves(args[1]) if isinstance(x, Tensor)]
            put = [x for x in args[2:] if at and isinstance(x, Tensor) and x.dim()]
            return any(self.holds(x) for x in at) > self.holds(args[0]) or any(
                self.holds(x) != self.holds(args[0]) for x in put
            )
        return len({self.holds(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()}) > 1

    def attribute(self, func, x, *_):
        on = isinstance(x, Tensor) and self.holds(x)
        if on and func in (Tensor.device.__get__, Tensor.is_cuda.__get__):
            return CARD if func == Tensor.device.__get__ else True
        return self.put(func(x, *_)) if on else func(x, *_)

    def move(self, func, name, x, *args, **kwargs):
        asked = [y for y in (*args, *kwargs.values()) if isinstance(y, str | torch.device | Tensor)]
        like = [self.holds(y) if isinstance(y, Tensor) else _is_card(y) for y in asked]
        on = {"cpu": False, "cuda": True}.get(name, like[0] if like else self.holds(x))
        if name == "cuda":
            func, args, kwargs = Tensor.cpu, (), {}
        args = [HERE if _is_card(y) else y for y in args]
        kwargs = {key: HERE if _is_card(y) else y for key, y in kwargs.items()}
        new = func(x, *args, **kwargs)
        if on != self.holds(new):
            new = new.clone() if new.layout is torch.strided and new.device == HERE else new
        self.steps += on
        return self.put(new) if on else new


def _is_card(where) -> bool:
    return isinstance(where, str | torch.device) and str(where).startswith("cuda")
