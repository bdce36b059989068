SHIFTS = ["flat", "steep"]
