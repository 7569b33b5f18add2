"""The runs of a study: their keys and folders, and the processes that train them."""
