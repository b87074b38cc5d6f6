"""What a user can mend: which errors these are, and each in one line that says what to do."""

import errno

FAULTS = (ValueError, RuntimeError, ArithmeticError, MemoryError, OSError, ModuleNotFoundError)

SPACE = "free some space, or choose another folder"
RIGHTS = "choose a folder that you may write to, or change its permissions"
FOLDER = "a file is where a folder should be: choose another path"
REMEDIES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: SPACE,
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.ENOENT: "check the path",
    errno.EEXIST: FOLDER,
    errno.ENOTDIR: FOLDER,
    errno.EISDIR: "a folder is where a file should be: choose another path",
}
"""What to do where the system refuses a file."""


def said(error: BaseException) -> str:
    """The error's own words; of one that the system gives the file, the reason and what to do."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    name = f"{error.filename}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno or 0)
    return f"{name}{error.strerror}{f': {remedy}' if remedy else ''}"
