"""Caption a folder of photos: the same as `captioner caption`, for those who prefer scripts.

python scripts/caption_folder.py photos/ --format jsonl --output captions.jsonl
python scripts/caption_folder.py --help
"""

from __future__ import annotations

import sys

from captioner.cli import main

if __name__ == "__main__":
    main(["caption", *sys.argv[1:]])
