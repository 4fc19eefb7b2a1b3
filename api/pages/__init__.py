"""The pages for people: what the API says, readable, and working without JavaScript but for a file to be hashed."""
