"""Dictionaries on disk: our own folders, written and read, and those of SAELens, read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..runs import atomic
from .architectures import architecture, build
from .dictionary import SAE
from .penalties import describe


def save(sae: SAE, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
    """Write ``sae.json`` and ``weights.safetensors`` into ``folder``, atomically; ``dtype`` rounds the weights.

    >>> import tempfile
    >>> import torch
    >>> from helpers.sae import build, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = save(build("topk", 16, 64, generator=torch.Generator().manual_seed(0)), f"{folder}/mine")
    ...     sorted(file.name for file in made.iterdir())
    ['sae.json', 'weights.safetensors']
    """
    state = {
        key: (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous()
        for key, value in sae.state_dict().items()
    }
    config = {
        "architecture": architecture(sae),
        "d_model": sae.d_model,
        "d_sae": sae.d_sae,
        "hyper": {**sae.hyper, "penalty": describe(sae.hyper["penalty"])},
    }
    with atomic(Path(folder)) as path:
        path.mkdir()
        save_file(state, path / "weights.safetensors")
        (path / "sae.json").write_text(json.dumps(config, indent=1))
    return Path(folder)


def load(folder: str | Path) -> SAE:
    """A dictionary written by :func:`save`, in float32 and evaluation mode.

    Raises ``FileNotFoundError`` when a file is missing, ``OSError`` when the weights cannot be read, and ``ValueError``
    when the description cannot, or the two files do not belong together.

    >>> import tempfile
    >>> import torch
    >>> from helpers.sae import build, load, save
    >>> sae = build("topk", 16, 64, generator=torch.Generator().manual_seed(0), k=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(save(sae, f"{folder}/mine"))
    >>> again.hyper["k"], bool((again.W_enc == sae.W_enc).all())
    (4, True)
    """
    folder = Path(folder)
    config = _described(folder, "sae.json", "weights.safetensors", "a folder written by helpers.sae.save")
    try:
        name, sizes, hyper = config["architecture"], (config["d_model"], config["d_sae"]), config["hyper"]
        sae = build(name, *sizes, generator=torch.Generator(), **hyper)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'sae.json'} describes no dictionary: {error}") from error
    return _filled(sae, _read(folder / "weights.safetensors"), folder)


def load_saelens(folder: str | Path) -> SAE:
    """A dictionary in SAELens' folder format (``cfg.json``, ``sae_weights.safetensors``), as one of ours.

    Standard, gated, JumpReLU and TopK, of any version since the GPT-2 release; BatchTopK is saved as JumpReLU there. In
    float32 and evaluation mode. Outputs are SAELens' own; three of its options are folded into the weights:

    * ``apply_b_dec_to_input=False``: ours always centre, so ``b_dec @ W_enc`` is added to the encoder's biases.
    * ``rescale_acts_by_decoder_norm``: norms of decoder rows move into the encoder.
    * ``scaling_factor``: multiplies decoder rows; codes are then those before that factor.

    Decoder rows keep their norms, which SAELens leaves free; the first training step here makes them one.

    Raises ``FileNotFoundError``, ``OSError`` or ``ValueError``, naming the file, field or tensor at fault.

    >>> import tempfile
    >>> import json
    >>> from pathlib import Path
    >>> import torch
    >>> from safetensors.torch import save_file
    >>> from helpers.sae import architecture, load_saelens
    >>> rows = torch.eye(8)[:, :4] + 1
    >>> weights = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "cfg.json").write_text(json.dumps({"architecture": "topk", "k": 2}))
    ...     save_file(weights, Path(folder, "sae_weights.safetensors"))
    ...     sae = load_saelens(folder)
    >>> architecture(sae), sae.d_model, sae.d_sae, sae.hyper["k"]
    ('topk', 4, 8, 2)
    """
    folder = Path(folder)
    path = folder / "sae_weights.safetensors"
    config = _described(folder, "cfg.json", path.name, "a folder written by SAELens")
    name = config.get("architecture", "standard")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if name == "standard" and activation == "topk":  # before version 6
        name, config["k"] = "topk", config.get("activation_fn_kwargs", {}).get("k")
    elif activation not in ("relu", "topk"):
        raise ValueError(f"{folder / 'cfg.json'}: activation_fn={activation!r}; expected 'relu' or 'topk'")
    if name not in SAELENS_BIASES:
        known = ", ".join(SAELENS_BIASES)
        raise ValueError(f"{folder / 'cfg.json'}: architecture={name!r} cannot be read; expected one of {known}")
    if config.get("normalize_activations") not in (None, False, "none"):
        seen = config["normalize_activations"]
        raise ValueError(
            f"{folder / 'cfg.json'}: normalize_activations={seen!r}; expected 'none' (scale inputs yourself)"
        )
    w = _saelens_tensors(_read(path), name, config, path)
    d_model, d_sae = w["W_enc"].shape
    if not config.get("apply_b_dec_to_input", True):
        shift = w["b_dec"] @ w["W_enc"]
        w["b_enc"] = w["b_enc"] + shift
        if name == "gated":
            w["b_mag"] = w["b_mag"] + w["r_mag"].exp() * shift
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = w["W_dec"].norm(dim=1).clamp_min(1e-8)
        w |= {"W_enc": w["W_enc"] * norms, "b_enc": w["b_enc"] * norms, "W_dec": w["W_dec"] / norms[:, None]}
    if "scaling_factor" in w:
        w["W_dec"] = w["W_dec"] * w.pop("scaling_factor")[:, None]
    try:
        hyper = {"k": int(config["k"])} if name == "topk" else {}
        sae = build(name, d_model, d_sae, generator=torch.Generator(), **hyper)
    except (KeyError, TypeError, ValueError) as error:
        seen = config.get("k")
        raise ValueError(f"{folder / 'cfg.json'}: k={seen!r}; expected an integer from 1 to d_sae={d_sae}") from error
    return _filled(sae, {**sae.state_dict(), **{k: v.float() for k, v in w.items()}}, folder)


SAELENS_BIASES = {
    "standard": ("b_enc",),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "jumprelu": ("b_enc", "threshold"),
    "topk": ("b_enc",),
}


def _saelens_tensors(w: dict[str, Tensor], name: str, config: dict, path: Path) -> dict[str, Tensor]:
    """The tensors of an architecture, in float64 and under our names, once all are there and as they should be."""
    if name == "jumprelu" and "log_threshold" in w:
        w["threshold"] = w.pop("log_threshold").double().exp()
    expected = {"W_enc", "W_dec", "b_dec", *SAELENS_BIASES[name]}
    for tensor in sorted(expected - w.keys()):
        raise ValueError(f"{path} has no tensor {tensor!r}, which architecture={name!r} needs")
    for tensor in sorted(w.keys() - expected - {"scaling_factor"}):
        raise ValueError(f"{path} holds a tensor {tensor!r} that architecture={name!r} does not have")
    if w["W_enc"].ndim != 2:
        raise ValueError(f"{path}: W_enc has shape {tuple(w['W_enc'].shape)}; expected (d_in, d_sae)")
    d_in, d_sae = (config.get(key) or size for key, size in zip(("d_in", "d_sae"), w["W_enc"].shape, strict=True))
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    for tensor, value in w.items():
        shape = shapes.get(tensor, (d_sae,))
        if tuple(value.shape) != shape:
            raise ValueError(f"{path}: {tensor} has shape {tuple(value.shape)}; expected {shape}")
        if not value.isfinite().all():
            raise ValueError(f"{path}: {tensor} holds values that are NaN or infinite")
    w = {tensor: value.double() for tensor, value in w.items()}
    if name == "gated":
        w["b_enc"] = w.pop("b_gate")
    if name == "jumprelu":
        w["threshold"] = w["threshold"].clamp_min(0)  # theirs apply a ReLU first, so this changes nothing
    return w


def _described(folder: Path, config: str, weights: str, expected: str) -> dict:
    for file in (config, weights):
        if not (folder / file).exists():
            raise FileNotFoundError(f"folder={str(folder)!r} has no {file}; expected {expected}")
    try:
        found = json.loads((folder / config).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / config} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{folder / config} holds a {type(found).__name__}; expected an object")
    return found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise OSError(f"{path} is corrupt or truncated: {error}") from error


def _filled(sae: SAE, state: dict[str, Tensor], folder: Path) -> SAE:
    try:
        sae.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise ValueError(
            f"folder={str(folder)!r}: the weights are not those of a {architecture(sae)}: {error}"
        ) from error
    return sae.eval()
