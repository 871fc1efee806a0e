"""The interactive notebook on the polynomial games (`make notebook`), and its static copy for the report.

It is a part of the package, since its sources then enter the digest of what is made from it, as everywhere.
"""
