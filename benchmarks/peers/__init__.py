"""Servers that you could write instead, measured beside this project: `python -m benchmarks.peers`.

Each folder is one peer: the versions it is made of (requirements.txt, from requirements.in), the
server (app.py) and the command that starts it (start, with the environment first on PATH). It finds
the model, the number of workers and a folder of its own in MODEL, WORKERS and SCRATCH, and its port
where this project does, in SAGEMAKER_BIND_TO_PORT.
"""
