"""RedBookContentGen's old entry: understands its options and runs the new command instead."""

from redloom.cli.legacy import main

if __name__ == "__main__":
    main()
