"""Models as MLflow saves them, the requests that they are asked, and what MLflow itself answers.

    python make.py WORK       make models.tar.xz again, with MLflow 2 and 3
    python record.py WORK     then figures.json: the answers of MLflow's own scoring server

Both make environments below WORK with the packages that VERSIONS of make.py names, from PyPI.
"""
