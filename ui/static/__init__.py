"""Files that browsers get, and the script that fetches those of other projects."""
