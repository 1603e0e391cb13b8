"""What train.sh starts."""

import json
import sys

if __name__ == "__main__":
    folder = sys.argv[sys.argv.index("--model-dir") + 1]
    with open(f"{folder}/arguments.json", "w") as file:
        json.dump(sys.argv[1:], file)
