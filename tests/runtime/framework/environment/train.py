"""Write down what a script is given: its arguments and its variables."""

import json
import os
import sys

NAMES = ("SM_", "SAGEMAKER_", "CURRENT_HOST")

if __name__ == "__main__":
    given = {name: value for name, value in os.environ.items() if name.startswith(NAMES)}
    with open(os.path.join(os.environ["SM_MODEL_DIR"], "given.json"), "w") as file:
        json.dump({"arguments": sys.argv[1:], "environment": given}, file)
