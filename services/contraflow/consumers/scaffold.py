"""Writes a new consumer: a package of its own with an entry point, a module, a test that passes, and a README."""

from __future__ import annotations

import importlib.util
import keyword
from pathlib import Path

import jinja2

from contraflow.consumers.declaring import check_name
from contraflow.errors import ConsumerError
from contraflow.topics import TOPICS

__all__ = ["scaffold"]

_FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    "{module}.py": "module.py.j2",
    "test_{module}.py": "test_module.py.j2",
}


def scaffold(name: str, parent: Path) -> list[Path]:
    """Write the package of a new consumer into the folder ``name`` under ``parent``; returns its files.

    :raises ConsumerError: if the name cannot be used, or the folder is there already.
    """
    module = name.replace("-", "_")
    _check(name, module)
    folder = parent / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConsumerError(
            f"cannot create {folder} ({error.strerror}): choose another name or another folder"
        ) from None
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("contraflow.consumers", "template"),
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # what is written is Python and TOML
    )
    event = "".join(part.capitalize() for part in module.split("_"))
    written = []
    for file, template in _FILES.items():
        path = folder / file.format(module=module)
        text = templates.get_template(template).render(name=name, module=module, event=event)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _check(name: str, module: str) -> None:
    check_name(name)
    if name in TOPICS:
        raise ConsumerError(f"consumer {name!r}: a topic of the ring has that name; choose another")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module) or importlib.util.find_spec(module) is not None:
        raise ConsumerError(f"consumer {name!r}: Python has a module or a word of that name already; choose another")
