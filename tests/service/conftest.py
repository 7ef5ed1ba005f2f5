from tests.fakes.model_folders import model_folder

__all__ = ["model_folder"]
