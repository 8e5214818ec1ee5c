"""What upstream puts down: find it, name it, hold it to the contract, read it.

Beside that, two makers of deliveries: ``generator`` and ``online_retail``.
"""

from deliveries.contract import ContractBroken, check_contract
from deliveries.files import (
    DeliveryMissing,
    DeliveryUnreadable,
    data_files,
    delivered_files,
    delivery_id,
)
from deliveries.lines import read_lines

__all__ = [
    "ContractBroken",
    "DeliveryMissing",
    "DeliveryUnreadable",
    "check_contract",
    "data_files",
    "delivered_files",
    "delivery_id",
    "read_lines",
]
