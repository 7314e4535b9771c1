"""placeholder"""
from dataclasses import dataclass
@dataclass
class F:
    name: str; status: str; found: str; remedy: str
def sandbox_findings(): return []
