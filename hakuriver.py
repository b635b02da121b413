"""HakuRiver from a checkout: `python3 hakuriver.py COMMAND`."""

# Even Python 2 has to be able to read this file, or nobody learns what is missing.
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - a sentence instead of a traceback
    sys.stderr.write(
        "hakuriver: error: Python 3.10 or newer is needed, %s is Python %d.%d\n"
        % ((sys.executable,) + sys.version_info[:2])  # noqa: RUF005, UP031
    )
    sys.exit(2)

try:
    from hakuriver.__main__ import main
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
