"""Path parameters of ASCII digits: a route for `/things/7` that leaves `/things/batch` to a route of its own."""

from starlette.convertors import Convertor, register_url_convertor

# What stands behind the colon in a path: f"/things/{{thing_id:{DIGITS}}}".
DIGITS = "digits"


class DigitsConvertor(Convertor[str]):
    """Digits as they were sent: int() fails on thousands of them, and the parameter's type checks their range."""

    # Starlette ends its patterns with $, which would let a line feed pass.
    regex = r"[0-9]+(?!\n)"

    def convert(self, value: str) -> str:
        """The digits."""
        return value

    def to_string(self, value: str | int) -> str:
        """What stands in the address."""
        return str(value)


register_url_convertor(DIGITS, DigitsConvertor())
