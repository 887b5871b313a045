"""What tests of several doctypes share, and the tests of what is not a doctype."""
