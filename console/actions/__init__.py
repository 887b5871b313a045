"""What people have the console do, by page or by API: written down, and refused in words that can be translated."""
