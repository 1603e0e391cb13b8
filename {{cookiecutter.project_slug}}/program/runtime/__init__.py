"""The template's part of the program: update it with the template, do not edit it."""
