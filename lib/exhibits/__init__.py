"""Exhibits: `base` is how they are made, `chNN` hold a chapter's tables and figures together; each registers its own."""
from lib.exhibits import ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13, ch14
from lib.exhibits.base import FIGURES, TABLES, Lacking, readings, save, show
