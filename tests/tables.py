"""``python -m tests.tables``: write the tables of the README and of the first page anew, from the notebooks."""

from labkit.lab.authoring.listings import update

if __name__ == "__main__":
    update()
