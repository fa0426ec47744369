"""Where a network, an objective, a data set and a machine meet."""
