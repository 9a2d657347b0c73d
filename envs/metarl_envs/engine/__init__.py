"""MuJoCo: models, many simulations of one of them, pictures. It knows no task."""
