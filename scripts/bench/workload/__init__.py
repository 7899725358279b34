"""The jobs that the contenders run: cases, their workflows, and the small models that these need."""
