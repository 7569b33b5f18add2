"""Group-sequential studies: seeds are added until every variant is decided."""
