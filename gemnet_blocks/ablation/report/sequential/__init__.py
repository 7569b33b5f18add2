"""Group-sequential statistics: the looks of studies that add seeds until every variant is decided."""
