"""The analytic method: formulas applied to the operators that torch runs."""
