"""Constructor arguments of an official network: each is understood, or refused by name."""

from collections.abc import Mapping
from typing import Any

from ganpipe.errors import UserError


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Arguments:
    """What a file records of a constructor's arguments; `finish` refuses what nobody asked for.

    Args:
      where: file and network, for messages.
      given: name -> plain value.
      prefix: of the names in messages, for arguments inside arguments.
    """

    def __init__(self, where: str, given: Mapping[str, Any], prefix: str = ""):
        self.where, self.given, self.prefix = where, dict(given), prefix
        self.known: set[str] = set()
        self.inner: list[Arguments] = []

    def take(self, name: str, default: Any = None, none: Any = None) -> Any:
        """The value, `default` when it is not recorded, `none` when it is None."""
        self.known.add(name)
        value = self.given.get(name, default)
        return none if value is None else value

    def wrong(self, name: str, expected: str) -> UserError:
        """What to raise for an argument that has a value other than the expected ones."""
        return UserError(
            f"{self.where}: argument {self.prefix}{name}={_shown(self.given.get(name))}; this "
            f"importer builds networks with {expected}."
        )

    def whole(
        self, name: str, default: int | None = None, least: int = 0, none: int | None = None
    ) -> int:
        """A whole number from `least` on; `none` stands for None."""
        value = self.take(name, default, none)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**24:
            raise self.wrong(name, f"a whole number from {least} on")
        return value

    def number(self, name: str, default: float, none: float | None = None) -> float:
        """A finite number; `none` stands for None."""
        value = self.take(name, default, none)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
            raise self.wrong(name, "a number")
        return float(value)

    def choice(self, name: str, *allowed: Any) -> Any:
        """One of `allowed`, the first of which is the official default."""
        value = self.take(name, allowed[0], none=None)
        for option in allowed:
            # 1 == True: a flag is no number here.
            if value == option and isinstance(value, bool) == isinstance(option, bool):
                return option
        raise self.wrong(name, " or ".join(dict.fromkeys(_shown(a) for a in allowed)))

    def only(self, allowed: Mapping[str, tuple]) -> None:
        """Arguments that may only have the values that our networks have."""
        for name, options in allowed.items():
            self.choice(name, *options)

    def ignore(self, *names: str) -> None:
        """Arguments that change neither weights nor function."""
        self.known.update(names)

    def inside(self, name: str) -> "Arguments":
        """The arguments of a dict-valued argument."""
        value = self.take(name, {}, none={})
        if not isinstance(value, dict):
            raise self.wrong(name, "a dict of arguments")
        self.inner.append(Arguments(self.where, value, f"{self.prefix}{name}."))
        return self.inner[-1]

    def finish(self) -> None:
        """Refuses arguments that nobody asked for.

        Raises:
          UserError: naming the first of them.
        """
        unknown = sorted(set(self.given) - self.known)
        if unknown:
            raise UserError(
                f"{self.where}: it was built with the argument {self.prefix}{unknown[0][:80]}="
                f"{_shown(self.given[unknown[0]])}, which this importer does not know; a network "
                "built without it might compute something else."
            )
        for arguments in self.inner:
            arguments.finish()
