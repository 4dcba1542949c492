"""Analysis of weights: weight profiles, their decomposition, and metrics of a sync."""

from laperm_jax.analysis._decomposition import Decomposition as Decomposition
from laperm_jax.analysis._decomposition import decompose as decompose
from laperm_jax.analysis._profiles import Profile as Profile
from laperm_jax.analysis._profiles import expected_similarity as expected_similarity
from laperm_jax.analysis._profiles import normal_quantiles as normal_quantiles
from laperm_jax.analysis._profiles import profile_similarity as profile_similarity
from laperm_jax.analysis._profiles import weight_profile as weight_profile
from laperm_jax.analysis._profiles import weight_profiles as weight_profiles
from laperm_jax.analysis._sync_metrics import SyncMetrics as SyncMetrics
from laperm_jax.analysis._sync_metrics import sync_metrics as sync_metrics
