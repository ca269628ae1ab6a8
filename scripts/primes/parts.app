operator SplitRange 0
