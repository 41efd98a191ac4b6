"""Methods that keep a network able to learn: units and weights that lost their use are renewed, none grows without end."""
