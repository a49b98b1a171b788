"""Random histories of two or three linked buses, whose frames are carried by a bag that loses, repeats and reorders."""
