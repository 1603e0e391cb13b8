"""What SageMaker gives the container and expects of it: paths, configuration, limits, failures."""
