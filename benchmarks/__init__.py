"""This project's own speed, in paired runs that anyone can repeat: `make bench`."""
