"""What scripts/gpu_check does: facts about the machine, a build, experiments in stages, and evidence files."""
