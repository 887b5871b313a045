"""Who somebody is and what they may do, as a proxy or an OpenID provider says it, for whoever signs in there."""
