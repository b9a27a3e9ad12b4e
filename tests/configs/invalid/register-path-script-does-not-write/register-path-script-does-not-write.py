print("nothing is saved")
