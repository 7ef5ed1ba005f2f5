"""What builds and checks this project; none of it is installed."""
