"""Does a table fit its schema? What a person is told of their own records, before anything is spent."""
